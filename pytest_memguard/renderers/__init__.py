"""A session's result -> text; no file is opened here."""

"""Why something grew; each room here returns values, none prints, none calls a user's method."""

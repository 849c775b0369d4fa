"""What can be read, one file a source; each probe writes into a row that it is given and keeps nothing."""

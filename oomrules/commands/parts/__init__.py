"""What commands are made of; no module here is a command itself."""

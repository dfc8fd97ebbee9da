"""What terminals publish by themselves: JSON messages of this program's own definition, however they travel."""

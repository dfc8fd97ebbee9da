"""Jobs: load arrays from the store, call a pure function, save what it says. One file each."""

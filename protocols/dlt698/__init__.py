"""DL/T 698.45, the object-oriented protocol of terminals and meters: frames, A-XDR values, APDUs, frozen records, both roles."""

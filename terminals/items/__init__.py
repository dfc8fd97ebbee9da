"""What a meter can be asked by name: a quantity, its Chinese name, an OBIS code, or the protocol's own identifier."""

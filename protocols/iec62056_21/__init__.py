"""IEC 62056-21 (formerly IEC 1107), modes A to C: the optical head and current loop of older meters."""

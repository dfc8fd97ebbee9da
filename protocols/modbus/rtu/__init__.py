"""Modbus on a serial line, binary form: MODBUS over Serial Line V1.02."""

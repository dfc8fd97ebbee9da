"""Modbus over TCP and RTU: register maps of real meter models, on pymodbus."""

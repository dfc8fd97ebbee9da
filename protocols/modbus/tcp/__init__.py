"""Modbus in TCP: MODBUS Messaging on TCP/IP Implementation Guide V1.0b."""

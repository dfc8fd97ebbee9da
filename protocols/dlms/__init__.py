"""DLMS/COSEM over the TCP wrapper, logical-name referencing, built on the library dlms-cosem.

Only the library's ACSE and xDLMS classes are used (`dlms_cosem.protocol.acse`, `dlms_cosem.protocol.xdlms`,
`dlms_cosem.cosem`, `dlms_cosem.enumerations`). Its structlog loggers live in `connection`, `state`, `hdlc`,
`io` and `client`, none of which these import: so there is nothing to silence, structlog stays as the program
configured it, and a test keeps it so. Every hole of the library has its own file here; the docstring of each
says which.
"""

"""DLMS/COSEM over the TCP wrapper and HDLC, plain and ciphered, by logical and short names, built on the library dlms-cosem.

    bytes    frame (wrapper), login (what some makes say in it first), hdlc_frame + hdlc (link), transport (the seam between them and the rest)
    keys     ciphering, signing, keys, hls, policy, security; protection (the seam), confidential (what decode masks)
    APDUs    apdu, encoding, messages, association, gbt, shortnames, wire
    data     values, selector, bulk, profile, model + items.csv
    talk     client, server + device + gateway, flows, requests; exchange has the names of all
    words    describe, view, prose

Only the library's ACSE and xDLMS classes are used (`dlms_cosem.protocol.acse`, `dlms_cosem.protocol.xdlms`,
`dlms_cosem.cosem`, `dlms_cosem.enumerations`). Its structlog loggers live in `connection`, `state`, `hdlc`,
`io` and `client`, none of which these import: so there is nothing to silence, structlog stays as the program
configured it, and a test keeps it so. Every hole of the library has its own file here; the docstring of each
says which.
"""

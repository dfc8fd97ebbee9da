from tests.support.wire import bare_wire, clock, database_of, protocol, server_kind, wire

__all__ = ["bare_wire", "clock", "database_of", "protocol", "server_kind", "wire"]

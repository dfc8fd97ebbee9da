from tests.support.wire import clock, database_of, protocol, server_kind, wire

__all__ = ["clock", "database_of", "protocol", "server_kind", "wire"]

from tests.support.app import desk

__all__ = ["desk"]

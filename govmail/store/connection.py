"""The type that every function of the store takes first, for those who compose such functions without knowing SQL."""

from sqlalchemy import Connection

__all__ = ["Connection"]

"""Fixtures of the tests of executors."""

from tests.training.conftest import lists, one_thread

__all__ = ["lists", "one_thread"]

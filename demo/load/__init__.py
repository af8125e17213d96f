"""Users of the sample platform: they write and ask at a fixed rate, and a ledger keeps what was acknowledged."""

from demo.load.checking import Missing, check

__all__ = ["Missing", "check"]

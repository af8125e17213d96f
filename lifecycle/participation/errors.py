"""Why a write is not acknowledged."""


class Refused(Exception):
    """Nothing was written, or it is not known whether: the client must not be told that it was."""


class NotOwner(Refused):
    """Another region owns the tenant's writes. Nothing was written; forward the request to `owner`."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"Writes of this tenant belong to {owner}; forward the request there.")
        self.owner = owner


class Fenced(Refused):
    """The owner is being changed, or its lease is over. Nothing was written; try again, for at most 2 s."""

    def __init__(self, why: str = "Writes of this tenant are fenced at the moment; try again.") -> None:
        super().__init__(why)


class OutcomeUnknown(Refused):
    """The write may have been kept or not. Answer 503; never success."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The outcome of this write is unknown: {why}")

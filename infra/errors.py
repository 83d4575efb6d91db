"""Errors that a user meets. Each says what is wrong, what is allowed, and what to do next."""


class LimelightError(Exception):
    """Something that the user can act on; printed without a traceback.

    Args:
        message: What is wrong, naming the value and what is allowed.
        hint: What to do next, as one sentence or one command.
        may_pass: Whether the same may go well when it is tried again, with nothing changed: a
            process was killed, a disk did not answer.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", may_pass: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.may_pass = may_pass

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process boundaries; the keyword arguments must come along.
        return (_rebuild, (type(self), self.message, self.hint, self.may_pass))


def _rebuild(cls: type[LimelightError], message: str, hint: str, may_pass: bool) -> LimelightError:
    error = cls(message, hint=hint)
    error.may_pass = may_pass
    return error


class UsageError(LimelightError):
    """The request itself is wrong: an unknown name, key or value."""

    exit_code = 2


class LakeError(LimelightError):
    """The lake cannot be written or read: full, read-only, torn. Ends a build at once."""

    exit_code = 3


class WeightsError(LimelightError):
    """A weight is missing, or is not the file that its digest promises."""

    exit_code = 4


class EngineError(LimelightError):
    """The cluster cannot do what is asked of it."""

    exit_code = 5


class SourceError(LimelightError):
    """A source cannot be read now (missing, unreadable, network); may be retried."""

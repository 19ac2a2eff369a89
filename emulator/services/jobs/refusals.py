"""Why a job is not taken."""


class Refused(ValueError):
    """The service does not take the job; the text is its answer (400 UserError)."""


class NotOffered(ValueError):
    """A kind of job that this emulator does not run; the text names it."""

"""The exception that means: what the user gave cannot work."""


class InputError(ValueError):
    """Wrong user input: a config value, a data set, a checkpoint.

    Its message is one line that names the value, where it came from and what was expected. The command line tools
    print that line instead of a traceback.

    Args:
        message (str): The line.
        file (str, optional): A file that cannot be read, whose setting the tools add to the line. Defaults to None.
    """

    def __init__(self, message: str, file: str | None = None) -> None:
        super().__init__(message)
        self.file = file


def check_number(name: str, value, *, positive: bool = False) -> float:
    """Return ``value`` if it is a finite number >= 0, or > 0 with ``positive``.

    Raises:
        InputError: if it is anything else (a bool, a string, NaN, an infinity, a negative number).
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    in_range = is_number and (value > 0 if positive else value >= 0) and value < float('inf')
    if not in_range:
        expected = 'a finite number > 0' if positive else 'a finite number >= 0'
        raise InputError(f'{name}={value!r}: expected {expected}')
    return value


def last_line(error: Exception) -> str:
    """The message, without the traceback that a DataLoader puts before that of a worker."""
    lines = str(error).strip().splitlines() or ['']
    return lines[0] if len(lines) == 1 else lines[-1].split('Error: ', 1)[-1]

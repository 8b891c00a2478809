"""What can be wrong with training data."""


class NoTrainingDataError(Exception):
    """There are no training data to take a sample of; the message says why."""

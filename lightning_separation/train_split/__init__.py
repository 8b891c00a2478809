"""A sample of the training data, and the network's answer to it, beside the training loop.

The loop's own loader is left alone: samples are read by a worker process of this room's own, from those that the
loader's sampler can give, so that neither the dataset nor a random number of the loop's sees it. What the network would
be given in validation is found on a copy of the LightningModule, whose ``validation_step`` is left when it gets there;
then the network itself is run on that.
"""

from .sample import TrainingSample

__all__ = ["TrainingSample"]

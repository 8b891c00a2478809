"""``python -m lightning_separation``: the same as the command ``lightning-separation``."""

from .cli.main import main

if __name__ == "__main__":
    main(prog_name="lightning-separation")

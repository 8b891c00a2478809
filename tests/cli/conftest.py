import pytest

from lightning_separation.cli.main import main


@pytest.fixture
def call(capsys):
    """``call(*arguments)``: exit code, standard output and standard error of the command, in this process."""

    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments], prog_name="lightning-separation")
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call

"""What a network loses without each unit, worked out the long way: one run of all of it for each unit."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass

import torch
from torch import nn


def without_unit(output, axis, unit, value="zero"):
    """A layer's output, or the first tensor in it, with one unit replaced."""
    if isinstance(output, tuple):
        return (without_unit(output[0], axis, unit, value), *output[1:])
    new = output.clone()
    here = new.movedim(axis, 0)
    here[unit] = here[unit].mean() if value == "mean" else 0.0
    return new


def without_recurrent_unit(output, axis, unit, value="zero"):
    """Of an LSTM, one direction: its last layer's final hidden state is the end of its sequence."""
    sequence, (h_n, c_n) = output
    sequence = without_unit(sequence, axis, unit, value)
    h_n = h_n.clone()
    h_n[-1] = sequence[:, -1]
    return sequence, (h_n, c_n)


def logits_of(returned):
    if isinstance(returned, torch.Tensor):
        return returned
    if isinstance(returned, Mapping):
        return returned["logits"] if "logits" in returned else next(iter(returned.values()))
    if is_dataclass(returned):
        return getattr(returned, fields(returned)[0].name)
    return returned[0]


def plain_outputs(network, layer, axis, inputs, *, value="zero", edit=without_unit, read=logits_of):
    """The clean output, and the output without each unit, ``[units, N, ...]``; of fresh copies, seeded alike."""
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    widths = []

    def run(unit):
        copy = deepcopy(network).eval()

        def replace(module, args, output):
            first = output[0] if isinstance(output, tuple) else output
            widths.append(first.shape[axis])
            return None if unit is None else edit(output, axis, unit, value)

        dict(copy.named_modules(remove_duplicate=False))[layer].register_forward_hook(replace)
        torch.manual_seed(7)
        with torch.no_grad():
            if isinstance(inputs, Mapping):
                return read(copy(**{name: x.clone() for name, x in inputs.items()}))
            return read(copy(*(x.clone() for x in arguments)))

    clean = run(None)
    return clean, torch.stack([run(unit) for unit in range(widths[0])])


def plain_deltas(clean, ablated, target):
    """Loss, accuracy, KL(clean || ablated) and entropy of logits with the classes last, ``[4, units]`` float64."""

    def outcome(logits):
        logs = logits.double().log_softmax(-1).flatten(0, -2)
        loss = nn.functional.cross_entropy(logs, target.flatten(), reduction="none")
        correct = (logs.argmax(-1) == target.flatten()).double()
        return loss, correct, -torch.special.xlogy(logs.exp(), logs.exp()).sum(-1), logs

    loss, correct, entropy, logs = outcome(clean)
    found = []
    for output in ablated:
        new_loss, new_correct, new_entropy, new_logs = outcome(output)
        kl = (logs.exp() * (logs - new_logs)).sum(-1)
        changes = (new_loss - loss, new_correct - correct, kl, new_entropy - entropy)
        found.append(torch.stack([change.mean() for change in changes]))
    return torch.stack(found, 1)

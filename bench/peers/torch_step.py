"""One worker's PowerSGD step in PyTorch, one thread, no network: JSON in, JSON out.

Two implementations, of the gradients of a whole model:

hook      torch.distributed's powerSGD_hook as it is installed, with an all-reduce that returns at once
authors   what the authors' package (epfml/powersgd) computes, written anew: half-steps on batches of
          equal shape, the factor to be multiplied by made orthonormal by a norm (rank 1) or by QR.
          A worker's gradient is added to what the last step left, as backward does there. `halves`: 1 is
          the package's default and half of the work and bytes of a full step; 2 makes a full one.

Standard input: {"shapes": [...], "rank": 4, "seconds": 1}. What is printed has samples in milliseconds.
"""
import json
import math
import re
import sys
import time
from types import SimpleNamespace

import torch
import torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook as powersgd


def main():
    request = json.load(sys.stdin)
    torch.set_num_threads(1)
    torch.manual_seed(1)
    shapes, rank, seconds = request["shapes"], request["rank"], request["seconds"]
    steps = {name: create(shapes, rank) for name, create in STEPS.items()}
    json.dump(
        {
            "torch": torch.__version__,
            "blas": blas(),
            "threads": torch.get_num_threads(),
            "samples": {name: measure(step, seconds) for name, step in steps.items()},
        },
        sys.stdout,
    )


def measure(step, seconds):
    for _ in range(3):
        step()
    samples = []
    began = time.perf_counter()
    while len(samples) < 5 or time.perf_counter() - began < seconds:
        before = time.perf_counter()
        step()
        samples.append(1e3 * (time.perf_counter() - before))
    return samples


def hook(shapes, rank):
    def all_reduce(tensor, group=None, async_op=False):
        return SimpleNamespace(get_future=lambda: Done([tensor]))

    powersgd.dist = SimpleNamespace(all_reduce=all_reduce)
    state = powersgd.PowerSGDState(
        process_group=SimpleNamespace(size=lambda: 1), matrix_approximation_rank=rank
    )
    state.iter = state.start_powerSGD_iter  # past the steps that are not compressed
    lengths = [math.prod(shape) for shape in shapes]
    buffer = torch.randn(sum(lengths))
    gradients = [part.view(shape) for part, shape in zip(buffer.split(lengths), shapes)]
    bucket = SimpleNamespace(
        buffer=lambda: buffer,
        gradients=lambda: gradients,
        parameters=lambda: gradients,
        index=lambda: 0,
        is_last=lambda: True,
    )

    def step():
        powersgd.powerSGD_hook(state, bucket).wait()

    gradient = buffer.clone()
    step()
    expect_sum("hook", gradient, [buffer, state.error_dict[0]])
    return step


class Done:
    """What the hook asks of a future, at once: torch's own would move work to another CUDA stream."""

    def __init__(self, result):
        self.result = result

    def value(self):
        return self.result

    wait = value

    def then(self, callback):
        return Done(callback(self))


def authors(shapes, rank, halves):
    fresh = [torch.randn(shape) for shape in shapes]
    kept = [torch.zeros(shape) for shape in shapes]
    compressed, raw, by_shape = [], [], {}
    for i, tensor in enumerate(kept):
        matrix = tensor.view(tensor.shape[0], -1)
        cost = 0.5 * halves * min(rank, *matrix.shape) * sum(tensor.shape)
        if tensor.numel() / cost > 2:
            by_shape.setdefault(tuple(matrix.shape), []).append((i, matrix))
        else:
            raw.append(tensor)
    for (rows, cols), members in by_shape.items():
        indices, matrices = zip(*members)
        width = min(rank, rows, cols)
        left, right = (torch.randn(len(matrices), n, width) for n in (rows, cols))
        compressed.append((indices, matrices, left, right))
    turn = 0

    def half(batch, update, known, other):
        """other <- batchᵀ known, and known otherᵀ moves from the batch into the update"""
        if known.shape[-1] == 1:
            known /= known.norm().clamp_min(1e-16)
        else:
            known.copy_(torch.linalg.qr(known).Q)
        torch.bmm(batch.mT, known, out=other)
        batch.baddbmm_(known, other.mT, alpha=-1)
        update.baddbmm_(known, other.mT)

    def step():
        nonlocal turn
        torch._foreach_add_(kept, fresh)
        updates = {}
        for indices, matrices, left, right in compressed:
            batch = torch.stack(matrices)
            update = torch.zeros_like(batch)
            for i in range(halves):
                if (turn + i) % 2 == 0:
                    half(batch, update, left, right)
                else:
                    half(batch.mT, update.mT, right, left)
            for i, matrix, approximation, rest in zip(indices, matrices, update, batch):
                updates[i] = approximation.clone()
                matrix.copy_(rest)
        packed = torch.cat([tensor.view(-1) for tensor in raw])
        for tensor in raw:
            tensor.zero_()
        turn += halves
        return updates, packed

    updates, packed = step()
    expect_sum("authors", torch.cat([x.flatten() for x in raw_of(fresh, updates)]), [packed])
    for i, update in updates.items():
        expect_sum("authors", fresh[i].view_as(update), [update, kept[i].view_as(update)])
    return step


def raw_of(tensors, updates):
    return [tensor for i, tensor in enumerate(tensors) if i not in updates]


def expect_sum(name, whole, parts):
    """Nothing may be lost: update and what is kept for the next step are the gradient."""
    error = (sum(parts) - whole).abs().max().item()
    if not error <= 1e-4 * whole.abs().max().item():
        sys.exit(f"torch, {name}: update and residual are off the gradient by {error}")


def blas():
    """The library that multiplies, as this process has loaded it: it decides over the speed."""
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        found = set(re.findall(r"/(lib[\w.-]*(?:blas|mkl_core|mkl_rt)[\w.-]*)", maps.read()))
    return ", ".join(sorted(found)) or "built in"


STEPS = {
    "hook": hook,
    "authors, 1 half-step": lambda shapes, rank: authors(shapes, rank, halves=1),
    "authors, 2 half-steps": lambda shapes, rank: authors(shapes, rank, halves=2),
}

if __name__ == "__main__":
    main()

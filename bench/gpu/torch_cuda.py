"""One worker's PowerSGD step in PyTorch on CUDA, collectives stubbed: the steps of ../peers/torch_step.py.

    python3 torch_cuda.py [--device cuda | cpu]

Standard input: {"cases": [{"model": "GPT-2", "shapes": [...], "ranks": [1, 4]}], "seconds": 1}. One line
of JSON is printed for the device, {"torch", "device"} or {"unavailable": why}; then one for every model,
rank and implementation: {"model", "rank", "implementation", "wall", "gpu"}, samples in milliseconds, or
"failed" in their place. wall: until the device has done the step. gpu: from the first to the last of
its work by CUDA events, gaps included; on the CPU there are none.
"""
import argparse
import gc
import json
import sys
import time
from pathlib import Path

try:
    import torch
except ImportError as error:
    print(json.dumps({"unavailable": f"{sys.executable}: {error}"}))
    sys.exit()

sys.path.insert(0, str(Path(__file__).parent.parent / "peers"))
import torch_step


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    device = parser.parse_args().device
    request = json.load(sys.stdin)
    cuda = device == "cuda"
    if cuda and not torch.cuda.is_available():
        return say(unavailable=f"torch {torch.__version__} finds no CUDA device")
    if cuda:
        torch.set_default_device("cuda")
    name = torch.cuda.get_device_name() if cuda else "CPU"
    say(torch=torch.__version__, device=name)
    torch.manual_seed(1)
    for case in request["cases"]:
        for rank in case["ranks"]:
            for implementation, create in torch_step.STEPS.items():
                about = {"model": case["model"], "rank": rank, "implementation": implementation}
                try:
                    step = create(case["shapes"], rank)
                    say(**about, **measure(step, request["seconds"], cuda))
                except RuntimeError as error:  # also what torch calls a lack of memory
                    say(**about, failed=str(error).splitlines()[0])
                step = None
                gc.collect()
                if cuda:
                    torch.cuda.empty_cache()


def measure(step, seconds, cuda):
    warm = time.perf_counter() + seconds / 5
    done = 0
    while done < 3 or time.perf_counter() < warm:
        step()
        synchronize(cuda)
        done += 1
    wall, gpu = [], []
    began = time.perf_counter()
    while len(wall) < 5 or time.perf_counter() - began < seconds:
        before = time.perf_counter()
        step()
        synchronize(cuda)
        wall.append(1e3 * (time.perf_counter() - before))
        if cuda:
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            events[0].record()
            step()
            events[1].record()
            synchronize(cuda)
            gpu.append(events[0].elapsed_time(events[1]))
    return {"wall": wall, "gpu": gpu}


def synchronize(cuda):
    if cuda:
        torch.cuda.synchronize()


def say(**line):
    print(json.dumps(line), flush=True)


main()

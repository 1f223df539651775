#!/usr/bin/env python3
"""Whole training steps of longspan and of PyTorch in turn, on the same cores: tokens per second of both.

    python3 docs/beside_pytorch.py --precision bf16 --tokens 4096        # needs: pip install torch transformers

The model is that of configs/quickstart.textproto with 6 layers and 4 KV heads: transformers' Llama with
scaled_dot_product_attention, fused AdamW and clipping on the other side, bf16 by autocast. One sequence a step, one
document. Each round runs both, one after the other, so that what else the machine does meets both; of each the first step
of a round, which warms up, is left out. Not part of any build or test.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HIDDEN, LAYERS, HEADS, MLP, VOCABULARY = 256, 6, 4, 688, 256


def longspan_steps(args):
    """Seconds of each step but the first."""
    with tempfile.TemporaryDirectory() as folder:
        settings = dict(output_directory=folder, precision=args.precision.upper(), threads_per_rank=args.threads)
        settings |= {"model.num_layers": LAYERS, "model.num_kv_heads": HEADS, "data.sequence_length": args.tokens,
                     "data.pack_documents": "false", "training.steps": args.steps + 1, "optimizer.warmup_steps": 0,
                     "evaluation.interval_steps": 0, "checkpoint.interval_steps": 0, "metrics.plot": "false"}
        command = [args.longspan, "train", "--config", ROOT / "configs/quickstart.textproto"]
        for field, value in settings.items():
            command += ["--set", f"{field}={value}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stdout + done.stderr)
        lines = [json.loads(line) for line in open(f"{folder}/metrics.jsonl")]
        return [line["step_seconds"] for line in lines if "step_seconds" in line][1:]


def pytorch_steps(args):
    import torch
    import transformers
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=MLP, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, max_position_embeddings=args.tokens, use_cache=False,
        tie_word_embeddings=False)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").float().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    seconds = []
    for _ in range(args.steps + 1):
        tokens = torch.randint(0, VOCABULARY, (1, args.tokens))
        begin = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            loss = model(tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - begin)
    return seconds[1:]


def pytorch_in_own_process(args):
    done = subprocess.run([sys.executable, __file__, "--side", "pytorch"] + sys.argv[1:], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4, help="in each round, besides the first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--longspan", default=str(ROOT / "build/release/longspan"))
    parser.add_argument("--side", choices=("both", "pytorch"), default="both", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side == "pytorch":
        print(json.dumps(pytorch_steps(args)))
        return
    ours, theirs = [], []
    for number in range(1, args.rounds + 1):
        ours += longspan_steps(args)
        theirs += pytorch_in_own_process(args)
        print(f"round {number}: longspan {args.tokens / min(ours[-args.steps:]):.0f} tokens/s, "
              f"PyTorch {args.tokens / min(theirs[-args.steps:]):.0f}", flush=True)
    for name, of in (("fastest", min), ("median", statistics.median)):
        print(f"{args.precision} {args.tokens} tokens, {args.threads} threads, {name} step: "
              f"longspan {args.tokens / of(ours):.0f} tokens/s, PyTorch {args.tokens / of(theirs):.0f}, "
              f"ratio {of(theirs) / of(ours):.2f}")


if __name__ == "__main__":
    main()

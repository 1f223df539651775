#!/usr/bin/env python3
"""Makes the small models of this folder with an independent implementation (PyTorch and transformers, fp32).

    python3 make.py            # needs: pip install torch transformers safetensors

Not part of any build or test: what it wrote is committed. llama and llama_llama3rope are older and larger, of the same form.
"""
import json
import pathlib

import torch
import transformers
from safetensors.torch import save_file

COMMON = dict(vocab_size=96, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, use_cache=False,
              bos_token_id=None, eos_token_id=None, pad_token_id=None)
SEQUENCES, LENGTH, STEPS = 2, 48, 8
ADAMW = dict(lr=1e-3, betas=[0.9, 0.95], eps=1e-8, weight_decay=0.1, decay_all_parameters=True, clip=1.0)


def rope(rope_type, theta=10000.0, **scaling):
    return dict(rope_theta=theta, rope_type=rope_type, **scaling)


MODELS = {
    "llama_linear_tied": transformers.LlamaConfig(
        **COMMON, head_dim=8, tie_word_embeddings=True, rope_parameters=rope("linear", factor=4.0)),
    "llama_yarn": transformers.LlamaConfig(
        **COMMON, head_dim=8, tie_word_embeddings=False,
        rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=16)),
    "mistral": transformers.MistralConfig(
        **COMMON, head_dim=16, sliding_window=None, tie_word_embeddings=False, rope_parameters=rope("default", 1e6)),
    "qwen2": transformers.Qwen2Config(
        **COMMON, use_sliding_window=False, tie_word_embeddings=True, rope_parameters=rope("default", 1e6)),
    "qwen3": transformers.Qwen3Config(
        **COMMON, head_dim=16, use_sliding_window=False, tie_word_embeddings=False, rope_parameters=rope("default", 1e6)),
}


def make(name, config):
    torch.manual_seed(sum(name.encode()))
    torch.use_deterministic_algorithms(True)
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float()
    with torch.no_grad():  # larger than usual, and no special biases or norms, so that every tensor matters
        for parameter in model.parameters():
            noise = torch.randn_like(parameter) * 0.05
            parameter.copy_(noise + 1 if parameter.ndim == 1 and parameter.mean() > 0.5 else noise)
    folder = pathlib.Path(__file__).parent / name
    # Qwen2 is also the sharded case: many small files and an index.
    model.save_pretrained(folder, max_shard_size="20KB" if name == "qwen2" else "1GB")
    tokens = torch.randint(0, config.vocab_size, (SEQUENCES, LENGTH))

    def loss_of():
        logits = model(tokens).logits
        targets = tokens[:, 1:].reshape(-1)
        return logits, torch.nn.functional.cross_entropy(logits[:, :-1].reshape(targets.numel(), -1), targets)

    logits, loss = loss_of()
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
    norm = torch.sqrt(sum((g.double() ** 2).sum() for g in gradients.values()))
    save_file(gradients, folder / "expected_grads.safetensors")
    save_file({"logits": logits.detach().contiguous(), "tokens": tokens.int()}, folder / "expected_logits.safetensors")
    expected = dict(loss=loss.item(), grad_norm=norm.item(), adamw=dict(ADAMW, loss_and_grad_norm=[]),
                    versions=[torch.__version__, transformers.__version__])
    optimizer = torch.optim.AdamW(model.parameters(), lr=ADAMW["lr"], betas=ADAMW["betas"], eps=ADAMW["eps"],
                                  weight_decay=ADAMW["weight_decay"])
    for _ in range(STEPS):
        optimizer.zero_grad()
        _, loss = loss_of()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), ADAMW["clip"])
        expected["adamw"]["loss_and_grad_norm"].append([loss.item(), norm.item()])
        optimizer.step()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1))
    print(name, expected["loss"], expected["grad_norm"])


if __name__ == "__main__":
    for model_name, model_config in MODELS.items():
        make(model_name, model_config)

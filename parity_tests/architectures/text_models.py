"""Language models of the transformers library: tiny configurations, random weights, no downloads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from architecture import Architecture, Inputs
from torch import nn

BATCH, LENGTH = "batch", "length"
TEXT_SIZES = ((1, 5), (3, 11), (2, 1))

# What most configurations call their sizes.
TINY = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA = {**TINY, "num_key_value_heads": 2}
GPT = {
    "vocab_size": 99,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SEQ2SEQ = {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}


def model_of(kind: str, auto: str, settings: dict[str, Any], *, cache: bool | None = None) -> Callable[[], nn.Module]:
    """Return what makes the model of a configuration, by the library's own Auto class."""

    def make() -> nn.Module:
        import transformers

        config = transformers.AutoConfig.for_model(kind, **settings)
        if cache is not None:
            config.use_cache = cache
        factory = getattr(transformers, auto)
        return (factory.from_config(config) if auto.startswith("Auto") else factory(config)).eval()

    return make


# --- text -----------------------------------------------------------------------------------------------------------


def ids(batch: int, length: int, vocabulary: int = 99) -> torch.Tensor:
    """Return token numbers above those with a meaning of their own."""
    return torch.randint(3, vocabulary, (batch, length))


def padding(batch: int, length: int, side: str) -> torch.Tensor:
    """Return an attention mask in which row k has k padded places, at least one token staying."""
    missing = torch.arange(batch).clamp(max=length - 1)[:, None]
    place = torch.arange(length)[None]
    return (place >= missing if side == "left" else place < length - missing).long()


def text(side: str) -> Callable[[int, int], Inputs]:
    """Return the inputs of a text model, padded on one side."""

    def inputs(batch: int, length: int) -> Inputs:
        mask = padding(batch, length, side)
        return {"input_ids": ids(batch, length) * mask, "attention_mask": mask}

    return inputs


TEXT_DYNAMIC = {"input_ids": {0: BATCH, 1: LENGTH}, "attention_mask": {0: BATCH, 1: LENGTH}}

ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("AutoModelForSequenceClassification", TINY),
    "roberta": ("AutoModelForTokenClassification", TINY),
    "distilbert": (
        "AutoModelForQuestionAnswering",
        {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    ),
    "albert": ("AutoModelForMaskedLM", {**TINY, "embedding_size": 16}),
    "deberta": ("AutoModel", {**TINY, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "deberta-v2": (
        "AutoModel",
        {**TINY, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 16},
    ),
    "electra": ("AutoModelForMaskedLM", {**TINY, "embedding_size": 16}),
    "xlm-roberta": ("AutoModel", TINY),
    "camembert": ("AutoModel", TINY),
    "mpnet": ("AutoModel", TINY),
    "squeezebert": (
        "AutoModel",
        {
            **TINY,
            "embedding_size": 32,
            "q_groups": 2,
            "k_groups": 2,
            "v_groups": 2,
            "post_attention_groups": 1,
            "intermediate_groups": 2,
            "output_groups": 2,
        },
    ),
    "mobilebert": ("AutoModel", {**TINY, "embedding_size": 16, "intra_bottleneck_size": 32, "true_hidden_size": 32}),
    "convbert": ("AutoModel", {**TINY, "embedding_size": 32}),
    "roformer": ("AutoModel", {**TINY, "embedding_size": 32}),
    "modernbert": (
        "AutoModel",
        {**TINY, "local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 2},
    ),
    "nomic_bert": ("AutoModel", TINY),
    "esm": ("AutoModel", {**TINY, "mask_token_id": 3}),
    "xlnet": ("AutoModel", {"vocab_size": 99, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}),
}

DECODERS: dict[str, dict[str, Any]] = {
    "gpt2": GPT,
    "gpt_neo": {
        **TINY,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 4,
    },
    "gpt_neox": TINY,
    "gptj": {**GPT, "rotary_dim": 4},
    "gpt_bigcode": GPT,
    "codegen": {**GPT, "rotary_dim": 4},
    "opt": {**TINY, "ffn_dim": 48, "word_embed_proj_dim": 32},
    "bloom": {
        "vocab_size": 99,
        "hidden_size": 32,
        "n_layer": 2,
        "n_head": 4,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    },
    "llama": LLAMA,
    "mistral": {**LLAMA, "sliding_window": 4},
    "mixtral": {**LLAMA, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2": LLAMA,
    "qwen2_moe": {**LLAMA, **MOE, "shared_expert_intermediate_size": 24},
    "qwen3": {**LLAMA, "head_dim": 8},
    "qwen3_moe": {**LLAMA, **MOE, "head_dim": 8},
    "olmoe": {**LLAMA, "num_experts": 4, "num_experts_per_tok": 2},
    "gemma": {**LLAMA, "head_dim": 8},
    "gemma2": {**LLAMA, "head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8},
    "gemma3_text": {**LLAMA, "head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8},
    "phi": TINY,
    "phi3": LLAMA,
    "falcon": {**TINY, "multi_query": True, "new_decoder_architecture": False},
    "stablelm": LLAMA,
    "starcoder2": LLAMA,
    "cohere": LLAMA,
    "olmo2": LLAMA,
    "granite": LLAMA,
    "smollm3": LLAMA,
    "mpt": {"vocab_size": 99, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64},
    "biogpt": TINY,
    "xglm": {
        "vocab_size": 99,
        "d_model": 32,
        "num_layers": 2,
        "attention_heads": 4,
        "ffn_dim": 48,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "openai-gpt": GPT,
    "ctrl": {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 48, "n_positions": 64},
    "gpt_oss": {**LLAMA, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4},
    "deepseek_v3": {
        **LLAMA,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 2,
        "topk_group": 1,
        "moe_intermediate_size": 24,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 8,
        "qk_nope_head_dim": 8,
        "first_k_dense_replace": 1,
    },
}

# Models with a state in place of attention: no mask.
RECURRENT: dict[str, dict[str, Any]] = {
    "mamba": {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "use_mambapy": False},
    "mamba2": {
        "vocab_size": 99,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "state_size": 4,
        "num_heads": 8,
        "head_dim": 8,
        "n_groups": 2,
        "chunk_size": 4,
    },
    "rwkv": {
        "vocab_size": 99,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "context_length": 32,
        "attention_hidden_size": 32,
        "intermediate_size": 48,
    },
}


def sampled(name: str, chosen: str) -> bool:
    return name in chosen.split()


def encoders() -> list[Architecture]:
    """Return the text encoders, right-padded."""
    return [
        Architecture(
            name=name,
            make=model_of(name, auto, settings),
            inputs=text("right"),
            traced=(2, 7),
            others=TEXT_SIZES,
            dynamic=TEXT_DYNAMIC,
            sampled=sampled(name, "bert deberta-v2 distilbert modernbert"),
        )
        for name, (auto, settings) in ENCODERS.items()
    ]


def decoders() -> list[Architecture]:
    """Return the decoders without a cache, left-padded."""
    return [
        Architecture(
            name=f"{name}-left-padded",
            make=model_of(name, "AutoModelForCausalLM", settings, cache=False),
            inputs=text("left"),
            traced=(2, 7),
            others=TEXT_SIZES,
            dynamic=TEXT_DYNAMIC,
            sampled=sampled(name, "gpt2 llama mixtral"),
        )
        for name, settings in DECODERS.items()
    ]


def recurrent() -> list[Architecture]:
    """Return the state-space models and the like."""
    return [
        Architecture(
            name=name,
            make=model_of(name, "AutoModelForCausalLM", settings, cache=False),
            inputs=lambda batch, length: {"input_ids": ids(batch, length)},
            traced=(2, 7),
            others=TEXT_SIZES if name == "mamba2" else ((1, 7), (3, 7), (5, 7)),
            # Their loop over the tokens is Python: torch.export unrolls it for one length.
            dynamic={"input_ids": {0: BATCH, 1: LENGTH} if name == "mamba2" else {0: BATCH}},
        )
        for name, settings in RECURRENT.items()
    ]


# --- decoders with a cache ------------------------------------------------------------------------------------------


def cached_inputs(name: str, settings: dict[str, Any], heads: int, width: int) -> Callable[[int, int, int], Inputs]:
    """Return the inputs of a decoding step: new tokens, a mask over old and new ones, the cache."""

    def inputs(batch: int, past: int, length: int) -> Inputs:
        import transformers

        cache = transformers.DynamicCache()
        layers = settings.get("num_hidden_layers") or settings.get("n_layer") or 2
        for layer in range(layers):
            cache.update(torch.randn(batch, heads, past, width), torch.randn(batch, heads, past, width), layer)
        return {
            "input_ids": ids(batch, length),
            "attention_mask": padding(batch, past + length, "left"),
            "past_key_values": cache,
        }

    return inputs


CACHED: dict[str, tuple[dict[str, Any], int, int]] = {
    "gpt2": (GPT, 4, 8),
    "gpt_neox": (TINY, 4, 8),
    "opt": (DECODERS["opt"], 4, 8),
    "bloom": (DECODERS["bloom"], 4, 8),
    "llama": (LLAMA, 2, 8),
    "mistral": ({**LLAMA, "sliding_window": None}, 2, 8),
    "qwen2": (LLAMA, 2, 8),
    "gemma": ({**LLAMA, "head_dim": 8}, 2, 8),
    "phi": (TINY, 4, 8),
    "falcon": (DECODERS["falcon"], 1, 8),
}


def cached() -> list[Architecture]:
    """Return decoding steps: the key-value cache is an input and an output."""
    layers = 2
    old = {0: BATCH, 2: "past"}
    return [
        Architecture(
            name=f"{name}-cached",
            make=model_of(name, "AutoModelForCausalLM", settings, cache=True),
            inputs=cached_inputs(name, settings, heads, width),
            traced=(2, 4, 3),
            others=((1, 7, 1), (3, 2, 5), (2, 1, 2)),
            dynamic={
                "input_ids": {0: BATCH, 1: LENGTH},
                "attention_mask": {0: BATCH, 1: "past+length"},
                "past_key_values": [[dict(old) for _ in range(layers)] for _ in range(2)],
            },
            sampled=sampled(name, "llama"),
        )
        for name, (settings, heads, width) in CACHED.items()
    ]


# --- encoder and decoder --------------------------------------------------------------------------------------------

T5 = {
    "vocab_size": 99,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
BOTH: dict[str, dict[str, Any]] = {
    "t5": T5,
    "mt5": {**T5, "feed_forward_proj": "gated-gelu"},
    "umt5": T5,
    "longt5": {**T5, "local_radius": 3, "encoder_attention_type": "local"},
    "bart": SEQ2SEQ,
    "mbart": SEQ2SEQ,
    "m2m_100": SEQ2SEQ,
    "marian": SEQ2SEQ,
    "pegasus": SEQ2SEQ,
    "blenderbot": SEQ2SEQ,
    "plbart": SEQ2SEQ,
    "prophetnet": {
        "vocab_size": 99,
        "hidden_size": 32,
        "num_encoder_layers": 1,
        "num_decoder_layers": 1,
        "num_encoder_attention_heads": 4,
        "num_decoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "max_position_embeddings": 64,
        "decoder_start_token_id": 1,
    },
}


def both_inputs(batch: int, length: int, target: int) -> Inputs:
    """Return the inputs of an encoder with a decoder."""
    mask = padding(batch, length, "right")
    return {"input_ids": ids(batch, length) * mask, "attention_mask": mask, "decoder_input_ids": ids(batch, target)}


def encoder_decoders() -> list[Architecture]:
    """Return translation models and the like, both halves in one graph."""
    return [
        Architecture(
            name=name,
            make=model_of(name, "AutoModelForSeq2SeqLM", settings, cache=False),
            inputs=both_inputs,
            traced=(2, 7, 5),
            others=((1, 5, 3), (3, 11, 6), (2, 4, 1)),
            dynamic={**TEXT_DYNAMIC, "decoder_input_ids": {0: BATCH, 1: "target"}},
            sampled=sampled(name, "t5 bart"),
        )
        for name, settings in BOTH.items()
    ]


TEXT: list[Architecture] = [*encoders(), *decoders(), *recurrent(), *cached(), *encoder_decoders()]

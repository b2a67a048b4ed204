"""Embed a few texts and find the one that is nearest to a question."""

from embedder import EmbeddingGenerator

documents = [
    "The cat sleeps on the warm windowsill.",
    "Interest rates were raised by a quarter of a percent.",
    "To reset your password, follow the link in the e-mail.",
    "Sourdough needs flour, water, salt and a good deal of time.",
]
question = "How do I get back into my account?"

with EmbeddingGenerator("all-MiniLM-L6-v2") as generator:
    vectors = generator.embed_document(documents)
    print(f"{len(vectors)} vectors of {vectors.shape[1]} components, {vectors.dtype}")

    scores = generator.similarity(generator.embed_query(question), vectors)[0]
    for row in scores.argsort()[::-1]:
        print(f"{scores[row]:+.3f}  {documents[row]}")

    ids = generator.tokenize(question)[0]
    print(f"the question is {len(ids)} tokens: {ids.tolist()}")

"""An architecture: a decoder-only transformer that reads question and answer as one text (Vaswani et al. 2017).

python -m seqadd.run --code examples/transformer.py architecture=transformer epochs=30
python -m seqadd.run --code examples/transformer.py -m architecture=transformer transformer.heads=1,2,4
"""

import keras
from keras import layers, ops

import seqadd


@seqadd.architecture("transformer", cell=None, reads_answer=True)
def transformer(question, previous, *, width: int = 36, blocks: int = 2, heads: int = 4):
    """One vector of ``width`` numbers for each character of the answer."""
    x = Positions()(layers.Dense(width, use_bias=False)(ops.concatenate([question, previous], axis=1)))
    for _ in range(blocks):
        read = layers.LayerNormalization()(x)
        attend = layers.MultiHeadAttention(heads, width // heads)
        found, shares = attend(read, read, use_causal_mask=True, return_attention_scores=True)
        seqadd.show("attention", shares)
        x = x + found
        hidden = layers.Dense(4 * width, activation="gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(width)(hidden)
    return layers.LayerNormalization()(x)[:, -previous.shape[1] :]


class Positions(keras.layers.Layer):
    """Adds a learned vector for each position."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], initializer="random_normal", name="positions")

    def call(self, x):
        return x + self.table

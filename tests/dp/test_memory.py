"""The size of chunks from the memory that a record takes."""

from fedpriv.dp import memory
from fedpriv.legacy_keras import keras

layers = keras.layers


def network(size=8):
    inputs = layers.Input((size, size, 2))
    hidden = layers.Conv2D(4, 1)(inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(hidden)))


def test_a_record_takes_its_maps_twice_and_its_gradient(monkeypatch):
    maps = 8 * 8 * 2 + 8 * 8 * 4 + 4 + 3
    weights = 2 * 4 + 4 + 4 * 3 + 3
    monkeypatch.setattr(memory, "CHUNK_BYTES", 100 * 4 * (2 * maps + weights))
    assert memory.records_per_chunk(network(), 1) == 100


def test_one_gradient_serves_all_records_of_a_unit(monkeypatch):
    maps = 8 * 8 * 2 + 8 * 8 * 4 + 4 + 3
    weights = 2 * 4 + 4 + 4 * 3 + 3
    monkeypatch.setattr(memory, "CHUNK_BYTES", 100 * 4 * (2 * maps * 3 + weights))
    assert memory.records_per_chunk(network(), 3) == 300


def test_larger_images_make_smaller_chunks_and_a_model_in_a_model_counts():
    outer = layers.Input((16, 16, 2))
    nested = keras.Model(outer, network()(layers.AveragePooling2D(2)(outer)))
    assert memory.records_per_chunk(network(16), 1) < memory.records_per_chunk(network(8), 1)
    assert memory.records_per_chunk(nested, 1) < memory.records_per_chunk(network(8), 1)

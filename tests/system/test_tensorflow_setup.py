from types import SimpleNamespace

import tensorflow as tf

from seqadd.system import tensorflow_setup


def test_without_a_gpu_none_is_named():
    assert tensorflow_setup.use_gpus() == "none"


def test_gpus_are_named_and_taken_by_and_by(monkeypatch):
    seen = [SimpleNamespace(name="gpu 0"), SimpleNamespace(name="gpu 1")]
    grown = []
    config = tf.config
    monkeypatch.setattr(config, "list_physical_devices", {"GPU": seen}.__getitem__)
    monkeypatch.setattr(config.experimental, "set_memory_growth", lambda gpu, on: grown.append((gpu.name, on)))
    details = {"gpu 0": {"device_name": "NVIDIA H200"}, "gpu 1": {}}
    monkeypatch.setattr(config.experimental, "get_device_details", lambda gpu: details[gpu.name])
    assert tensorflow_setup.use_gpus() == "NVIDIA H200, gpu 1"
    assert grown == [("gpu 0", True), ("gpu 1", True)]

from embedder.backends.base import Backend
from tests.unit.fake_device import Device
from tests.unit.test_loading import Described
a: Backend = Device()
b: Backend = Described()

from suite_awms import AwmsSuite


class TestAwms(AwmsSuite):
    pass

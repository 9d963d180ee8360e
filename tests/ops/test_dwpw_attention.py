from suite import OpSuite


class TestDwpwAttention(OpSuite):
    op = "dwpw_attention"

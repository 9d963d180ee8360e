from suite import OpSuite


class TestDwpwAttentionOnHost(OpSuite):
    op = "dwpw_attention"

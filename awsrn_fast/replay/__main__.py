from awsrn_fast.commands import run_module

if __name__ == "__main__":
    run_module("replay")

"""Pushes a directory to a repository with Python's huggingface_hub, or compares what is there with it.

    DISTILVIT_HUB_PYTHON=python3 go test -run TestFakeHubSpeaksToPython ./hub

starts hubtest's hub as HF_ENDPOINT and calls this with push and with compare. Needs huggingface_hub.
"""

import filecmp
import os
import sys

import huggingface_hub
from huggingface_hub import HfApi, hf_hub_download

what, repo, folder = sys.argv[1:]
api = HfApi()
api.create_repo(repo, private=True, exist_ok=True)
if what == "push":
    print("huggingface_hub", huggingface_hub.__version__, api.whoami()["name"])
    print(api.upload_folder(repo_id=repo, folder_path=folder, commit_message="by Python").oid)
else:
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            there = hf_hub_download(repo, os.path.relpath(path, folder))
            assert filecmp.cmp(path, there, shallow=False), there
    # Nothing has changed: this makes no commit, and answers with the one that is there.
    print("same", api.upload_folder(repo_id=repo, folder_path=folder, commit_message="again").oid)

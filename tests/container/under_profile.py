"""Runs a command under a seccomp profile as container engines have them.

    under_profile.py PROFILE COMMAND...

What a container engine does with the profile, and nothing else of a container: the rules are loaded
into this process, which then becomes COMMAND. `--without NAME...,` before PROFILE takes names out.
"""

import errno
import json
import os
import platform
import sys

import pyseccomp as seccomp

ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
OPERATORS = {"SCMP_CMP_NE": seccomp.NE, "SCMP_CMP_EQ": seccomp.EQ}


def action(rule, fallback=errno.EPERM):
    kind = rule["action"]
    if kind == "SCMP_ACT_ALLOW":
        return seccomp.ALLOW
    assert kind == "SCMP_ACT_ERRNO", kind
    return seccomp.ERRNO(rule.get("errnoRet", fallback))


def argument(arg):
    if arg["op"] == "SCMP_CMP_MASKED_EQ":
        # `value` is the mask.
        return seccomp.Arg(arg["index"], seccomp.MASKED_EQ, arg["value"], arg["valueTwo"])
    return seccomp.Arg(arg["index"], OPERATORS[arg["op"]], arg["value"])


def load(profile, without):
    here = ARCHITECTURES[platform.machine()]
    assert here in [arch["architecture"] for arch in profile["archMap"]], here
    default = {"action": profile["defaultAction"], "errnoRet": profile["defaultErrnoRet"]}
    rules = seccomp.SyscallFilter(defaction=action(default))
    for rule in profile["syscalls"]:
        for name in set(rule["names"]) - without:
            # Engines leave out what the kernel or its library does not know as well.
            if seccomp.resolve_syscall(seccomp.system_arch(), name) >= 0:
                arguments = [argument(arg) for arg in rule.get("args", [])]
                rules.add_rule(action(rule), name, *arguments)
    rules.load()


def main(arguments):
    without = set()
    if arguments[0] == "--without":
        without, arguments = set(arguments[1].split(",")), arguments[2:]
    with open(arguments[0]) as file:
        profile = json.load(file)
    load(profile, without)
    os.execvp(arguments[1], arguments[1:])


main(sys.argv[1:])

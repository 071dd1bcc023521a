#!/usr/bin/env python3
"""The test of the test: bugs put into the Raft core one at a time; the simulator must find each.

    regress/sim/mutants.py --top DIR --build DIR [--only NAME] [--seconds 90]

Each mutant is one replacement in one file of plugins/consensus/raft, compiled into a provider of its
own and simulated over fresh seeds until a seed fails or the time is over.  TAP: one test a mutant, plus
the unchanged core, which must not fail.
"""
import argparse
import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

# name, file, text that must occur exactly once, replacement
MUTANTS = [
    ("ack-before-durable", "replicate.c", "r->durable < r->proven ? r->durable : r->proven;", "r->proven;"),
    ("stale-completion-of-an-old-epoch", "replicate.c",
     "epoch != r->epoch || index > r->last || index <= r->durable || term_at(r, index) != term",
     "index > r->last || index <= r->durable"),
    ("durable-not-lowered-by-truncation", "replicate.c", "if (r->durable >= i)\n\t\t\t\tr->durable = i - 1;", ""),
    ("commit-to-own-last", "replicate.c", "commit = m->commit < r->proven ? m->commit : r->proven;",
     "commit = m->commit < r->last ? m->commit : r->last;"),
    ("vote-not-persisted", "election.c", "r->vote = m->from;\n\t\t\tsave_meta(s);", "r->vote = m->from;"),
    ("own-vote-not-persisted", "election.c", "election_reset(r);\n\tsave_meta(s);\n\temit_role(s, ALM_CNS_CANDIDATE);",
     "election_reset(r);\n\temit_role(s, ALM_CNS_CANDIDATE);"),
    ("term-not-persisted", "election.c", "r->vote_pending = 0;\n\t\tsave_meta(s);", "r->vote_pending = 0;"),
    ("prior-term-commit", "replicate.c", "upto > r->commit && term_at(r, upto) == r->term", "upto > r->commit"),
    ("vote-for-shorter-log", "election.c", "(m->prev_term == mine && m->prev_index >= r->last)",
     "m->prev_term == mine"),
    ("vote-ignores-term-of-log", "election.c", "m->prev_term > mine ||", "m->prev_index >= r->last ||"),
    ("vote-twice", "election.c", "(r->vote == 0 || r->vote == m->from)", "1"),
    ("vote-cleared-on-step-down", "election.c", "r->role = is_voter(r, r->self) ? ALM_CNS_FOLLOWER : ALM_CNS_LEARNER;\n\tr->leader = leader;",
     "r->role = is_voter(r, r->self) ? ALM_CNS_FOLLOWER : ALM_CNS_LEARNER;\n\tr->vote = 0;\n\tr->leader = leader;"),
    ("minority-quorum", "member.c", "return agree > members / 2;", "return agree >= members / 2;"),
    ("minority-commit", "member.c", "return n == 0 ? 0 : v[n / 2];", "return n == 0 ? 0 : v[(n - 1) / 2];"),
    ("learners-count", "member.c", "if (!(c->m[i].flags & flag))\n\t\t\tcontinue;\n\t\tp = peer_find((struct raft *)(uintptr_t)r, c->m[i].id);\n\t\tx =",
     "p = peer_find((struct raft *)(uintptr_t)r, c->m[i].id);\n\t\tx ="),
    ("joint-needs-only-new", "member.c", "if (!conf_active(r)->joint)\n\t\treturn a;", "return a;"),
    ("joint-votes-only-new", "member.c", "(!conf_active(r)->joint || majority(r, CONF_OLD, yes, self_yes));", "1;"),
    ("no-joint-phase", "member.c", "out->joint = 1;", "out->joint = 0;"),
    ("second-change-while-one-is-open", "member.c", "conf_active(r)->joint || conf_active(r)->index > r->commit || ", ""),
    ("configuration-not-rolled-back", "member.c", "while (n > 1 && r->conf[n - 1].index >= from)\n\t\tn--;", ""),
    ("match-counts-what-was-sent", "replicate.c", "p->next = last + 1;", "p->next = last + 1;\n\t\tp->match = last;"),
    ("refused-append-counts", "replicate.c", "if (!(m->flags & MSGF_OK)) {\n\t\ton_refusal(s, p, m);\n\t\treturn;\n\t}", ""),
    ("no-check-of-the-entry-before", "replicate.c",
     "(m->prev_index + 1 >= r->first && term_at(r, m->prev_index) != m->prev_term)", "0"),
    ("keeps-a-conflicting-tail", "replicate.c", "if (term_at(r, i) == w->run[run].term)\n\t\t\t\tcontinue;", "continue;"),
    ("truncates-what-agrees", "replicate.c", "if (term_at(r, i) == w->run[run].term)\n\t\t\t\tcontinue;", ""),
    ("epoch-not-raised", "replicate.c", "r->epoch++;", ""),
    ("own-disk-not-needed", "replicate.c", "quorum_index(r, match_of, r->durable)", "quorum_index(r, match_of, r->last)"),
    ("proven-survives-the-leader", "election.c",
     "r->proven = r->commit; /* what is committed is in every later leader's log */\n", ""),
    ("ack-of-another-term", "raft.c", "if (m->term < r->term) {\n\t\tstruct raft_wire *w;", "if (m->term < r->term && m->type != MSG_APPEND_REPLY) {\n\t\tstruct raft_wire *w;"),
    ("old-leader-appends", "raft.c", "if (m->term < r->term) {\n\t\tstruct raft_wire *w;", "if (m->term < r->term && m->type != MSG_APPEND) {\n\t\tstruct raft_wire *w;"),
    ("no-op-missing", "replicate.c", "r->term_start = append_own(s, 256, 0, ALM_REC_NOOP);", "r->term_start = r->last;\n\tr->announced = 1;"),
    ("leader-forgets-to-step-down", "raft.c", "become_follower(s, m->term, m->type == MSG_APPEND ? m->from : 0);\n\t\treturn 1;", "if (r->role != ALM_CNS_LEADER)\n\t\t\tbecome_follower(s, m->term, m->type == MSG_APPEND ? m->from : 0);\n\t\treturn 1;"),
    ("candidate-ignores-the-leader", "replicate.c", "if (r->leader != m->from || r->role == ALM_CNS_CANDIDATE)\n\t\tbecome_follower(s, r->term, m->from);", "if (r->role == ALM_CNS_CANDIDATE)\n\t\treturn;\n\tr->leader = m->from;"),
    ("no-heartbeats", "replicate.c", "(due || (news && p->state == REPLICATE))", "0"),
    ("no-new-campaign", "election.c", "election_reset(r);\n\tif (!may_campaign(r))", "r->timeout_at = UINT64_MAX;\n\tif (!may_campaign(r))"),
    ("refusal-ignored", "replicate.c", "p->next = next + 1 > p->match + 1 ? next + 1 : p->match + 1;\n\tp->waiting = 0;", ""),
    ("lost-entries-not-sent-again", "replicate.c", "if (p->state == REPLICATE) {\n\t\tpeer_probe(p);\n\t\treturn;\n\t}", "if (p->state == REPLICATE)\n\t\treturn;"),
    ("grant-before-the-vote-is-durable", "election.c", "if (r->vote == 0) {\n\t\t\tr->vote = m->from;\n\t\t\tsave_meta(s);\n\t\t}", "if (r->vote == 0) {\n\t\t\tr->vote = m->from;\n\t\t\tr->meta_seq++;\n\t\t}"),
    ("run-of-terms-off-by-one", "runs.c", "if (r->run[mid].first <= index)", "if (r->run[mid].first < index)"),
    ("boot-forgets-the-vote", "plugin.c", "r->vote = b->vote;", "r->vote = 0;"),
    ("boot-forgets-the-term", "plugin.c", "r->term = b->term;", "r->term = b->last_term;"),
    ("boot-trusts-all-as-committed", "plugin.c", "r->commit = b->frontier < b->last_index ? b->frontier : b->last_index;", "r->commit = b->last_index;"),
    ("removed-leader-stays", "member.c", "if (c->index != 0 && !is_voter(r, r->self))\n\t\t\tbecome_follower(s, r->term, 0); /* it led its own departure to the end */", ""),
    ("joint-never-left", "member.c", "conf_append(s, &final, 0);", "(void)final;"),
]


def compile_core(top, out_dir, name, patch):
    src = os.path.join(top, "plugins/consensus/raft")
    work = os.path.join(out_dir, name)
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(src, work)
    if patch:
        path = os.path.join(work, patch[0])
        text = open(path).read()
        if text.count(patch[1]) != 1:
            return None, f"the text to change occurs {text.count(patch[1])} times in {patch[0]}"
        open(path, "w").write(text.replace(patch[1], patch[2]))
    so = os.path.join(work, "core.so")
    files = [os.path.join(work, f) for f in sorted(os.listdir(work)) if f.endswith(".c")]
    cmd = [os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-w", "-fPIC", "-shared", "-fvisibility=hidden",
           f"-I{top}/include", "-o", so, *files]
    got = subprocess.run(cmd, capture_output=True, text=True)
    return (so, "") if got.returncode == 0 else (None, got.stderr[:300])


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--top", default=os.environ.get("ALMADIA_SRCDIR"))
    ap.add_argument("--build", default=os.environ.get("ALMADIA_BUILDDIR"), help="has the program regress/sim/sim")
    ap.add_argument("--only")
    ap.add_argument("--seconds", type=int, default=90)
    args = ap.parse_args()
    sim = os.path.join(args.build, "regress/sim/sim")
    out_dir = tempfile.mkdtemp(prefix="almadia-mutants-")
    atexit.register(shutil.rmtree, out_dir, ignore_errors=True)
    chosen = [m for m in MUTANTS if args.only in (None, m[0])]
    print(f"1..{len(chosen) + 1}", flush=True)
    bad = 0
    so, why = compile_core(args.top, out_dir, "unchanged", None)
    got = subprocess.run([sim, so, "seed=1", "count=1000"], capture_output=True, text=True)
    bad += got.returncode != 0
    print(f"{'ok' if got.returncode == 0 else 'not ok'} 1 - the unchanged core survives", flush=True)
    for i, (name, *patch) in enumerate(chosen, 2):
        began = time.monotonic()
        so, why = compile_core(args.top, out_dir, name, patch)
        killed = False
        if so:
            got = subprocess.run([sim, so, "seed=1", "count=100000000", f"secs={args.seconds}", "fails=1"],
                                 capture_output=True, text=True)
            killed = got.returncode != 0
            why = (re.search(r"seed \d+: .*", got.stdout) or [f"exit {got.returncode}"])[0] if killed else "survived"
        bad += not killed
        print(f"{'ok' if killed else 'not ok'} {i} - {name}\n# {time.monotonic() - began:.1f} s: {why}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

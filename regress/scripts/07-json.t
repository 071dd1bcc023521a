# The JSON forms: names of fields are an interface.
% hide "position": ?\d+ => "position": N
$ almadia -o json topic create t --queues 2 --retention-bytes 1g --max-message 64k
$ almadia -o json topic list
$ almadia -o json pub t hello --key k --tag g --property a=1 --property b=2
$ almadia -o json topic describe t
$ almadia -o json sub t --group g --count 1
$ almadia -o json group lag g
$ almadia -o json msg find t --key k
$ almadia -o jsonl topic list
$ almadia -o csv topic list | cut -d, -f1-7
$ almadia -o json topic delete t -y
$ almadia -o json topic list

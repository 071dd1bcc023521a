# The tour of the README: a topic, messages, a group that resumes, lag, lookup by key.
$ almadia topic create orders --queues 2
$ printf 'espresso\ncappuccino\nflat white\n' | almadia pub orders --key table-4
$ almadia pub orders 'tea' --key table-7 --tag hot --property waiter=ada
$ almadia sub orders --group kitchen --count 2
$ almadia group lag kitchen orders -o csv | cut -d, -f1-5
$ almadia sub orders --group kitchen --idle 300ms
$ almadia group lag kitchen orders -o csv | cut -d, -f1-5
$ almadia sub orders --group kitchen --idle 300ms
$ almadia tail orders --last 2
$ almadia msg find orders --key table-7 --format '%q/%o %k %t %P %b\n'
$ almadia topic describe orders

cd /tmp/audio8; P=/work/main/.venv/bin/python
$P -W ignore t1.py --cpu 45 --test > a1.log
$P -W ignore t1.py --cpu 45 --W 32 --net C2 --depth 4 > c1.log
$P -W ignore t1.py --cpu 45 --power .6 > a2.log

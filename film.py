from flowatlas import load_system
import glob,sys
d=glob.glob('/tmp/policies9/pcpu/**/system',recursive=True)[0]; print(d)
s=load_system(d); t=s.draw(3,seed=0)
print([x.best for x in t])
s.figure(t,"").savefig('/tmp/policies9/film.png',dpi=100)

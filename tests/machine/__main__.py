import gc, logging, sys, time, threading
from .rules import Machine
from .explore import explore
logging.disable(logging.ERROR); gc.set_threshold(100_000, 50, 100)
def tell():
    t=time.process_time(); n=0
    while True:
        time.sleep(5); now=time.process_time(); 
        print(f"{Machine.steps} steps {Machine.idle} idle, {1000*(now-t)/max(1,Machine.steps-n):.0f} ms", flush=True); t,n=now,Machine.steps
threading.Thread(target=tell, daemon=True).start()
t=time.process_time()
print(explore(int(sys.argv[1]), int(sys.argv[2])), time.process_time()-t)

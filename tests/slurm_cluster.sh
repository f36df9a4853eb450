#!/usr/bin/env bash
# A Slurm cluster of this one machine, for tests. As root on Debian or Ubuntu:
#   slurm_cluster.sh install        slurm-wlm and munge by apt-get
#   slurm_cluster.sh start FOLDER   munged, slurmctld and slurmd with their state and logs in FOLDER
#   slurm_cluster.sh stop FOLDER    end them and remove the configuration
set -euo pipefail

CONF=/etc/slurm/slurm.conf
MARK="# Written by tests/slurm_cluster.sh"

install() {
  command -v slurmctld slurmd munged sbatch > /dev/null && return
  apt-get update -qq
  # Debian's services would start a munged and a slurmctld of their own.
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends \
    slurm-wlm munge > /dev/null
}

start() {
  local folder=$1 host
  host=$(hostname -s)
  if [ -e $CONF ] && ! grep -qF "$MARK" $CONF; then
    echo "ERROR: $CONF exists: this machine belongs to a cluster already" >&2
    exit 2
  fi
  mkdir -p "$folder"/{state,spool} /run/munge /etc/slurm
  [ -e /etc/munge/munge.key ] || { dd if=/dev/urandom bs=1 count=1024 of=/etc/munge/munge.key 2> /dev/null; }
  chown munge: /run/munge /etc/munge/munge.key
  chmod 400 /etc/munge/munge.key
  cat > $CONF << EOF
$MARK
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
MinJobAge=3600
SchedulerParameters=sched_interval=1,batch_sched_delay=0
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
EOF
  if ! munge --no-input > /dev/null 2>&1; then
    setsid runuser -u munge -- munged --pid-file=/run/munge/munged.pid
    touch "$folder/munged"
  fi
  setsid slurmctld
  setsid slurmd
  for _ in $(seq 60); do
    [ "$(sinfo --noheader --format %T 2> /dev/null)" = idle ] && return
    sleep 0.5
  done
  echo "ERROR: the node is not idle after 30 s; see $folder/*.log" >&2
  stop "$folder"
  exit 2
}

stop() {
  local folder=$1 name pid
  for name in slurmd slurmctld; do
    pid=$(cat "$folder/$name.pid" 2> /dev/null) && kill "$pid" 2> /dev/null || true
  done
  if [ -e "$folder/munged" ]; then
    kill "$(cat /run/munge/munged.pid)" 2> /dev/null || true
    rm "$folder/munged"
  fi
  grep -qF "$MARK" $CONF 2> /dev/null && rm $CONF
  return 0
}

"$@"
